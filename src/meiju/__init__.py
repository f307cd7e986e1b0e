"""Joint emotion and intent recognition in short clips: a solution to ICASSP MEIJU@2025."""
