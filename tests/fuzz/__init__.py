"""Coverage-guided fuzzing of what strangers and members can send; see `frames.py`."""
