"""What a command found, written for a terminal or for a program."""
