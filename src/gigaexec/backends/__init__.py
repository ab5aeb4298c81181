"""The backends, by name. Each is imported when it is used.

loky    reused worker processes of this machine
"""
