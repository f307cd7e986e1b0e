"""Transcripts: speech recognition, and punctuation."""
