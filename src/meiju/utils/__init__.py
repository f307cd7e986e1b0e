"""What any project needs: files, logs, worker processes, the Hugging Face hub."""
