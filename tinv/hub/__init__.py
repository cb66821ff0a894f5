"""Files of the Hugging Face Hub on this machine."""
