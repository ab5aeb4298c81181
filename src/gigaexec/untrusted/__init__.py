"""Functions that make text and values from programs safe to show.

log_text      removes or escapes control characters, for log lines and terminals
json_text     converts values to JSON in one line, or to a repr that runs no code of a program
plain_values  reads the type of a value without running code of that type
"""
