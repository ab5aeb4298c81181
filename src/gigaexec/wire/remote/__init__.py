"""Calls and outcomes as versioned bytes, for other machines. docs/reference/remote-format.md has every field.

message   magic, version, header and content: the frame of both kinds
fields    the header's fields, checked
calls     `EncodedCall` -> bytes -> `EncodedCall`
outcomes  `EncodedOutcome` -> bytes -> `EncodedOutcome`
failures  errors -> records -> errors of the same class
"""
