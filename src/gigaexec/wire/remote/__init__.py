"""Encode calls and outcomes as versioned bytes, for other machines.

docs/reference/remote-format.md describes all fields.

message   encodes and decodes the frame of a message: magic, version, header and content
fields    reads and checks the fields of a header
calls     encodes and decodes an `EncodedCall`
outcomes  encodes and decodes an `EncodedOutcome`
failures  encodes and decodes an error of gigaexec
"""
