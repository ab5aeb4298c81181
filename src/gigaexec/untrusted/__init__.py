"""Text and values from programs, made safe to show.

log_text      text without control characters, for log lines and terminals
json_text     values as JSON in one line, and reprs that run no code of a program
plain_values  the type of a value, read without running code of its class
"""
