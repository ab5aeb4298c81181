"""The plain-data codec: values as bytes that are read without running any code.

format      the vocabulary that encoder and decoder share
encoder     a value -> data
decoder     data that a hostile process may have made -> a value
arrays_out  numpy's arrays and scalars -> data
arrays_in   data -> numpy's arrays and scalars, checked
instances   the fields of an instance of a program's class
record      `DataRecord`, which takes the place of such an instance in the driver
"""
