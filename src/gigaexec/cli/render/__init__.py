"""Output of the commands: text for a terminal, JSON for other programs."""
