"""A finished run at work on new clips: predict.py, its page, and exports."""
