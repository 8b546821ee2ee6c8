"""Text to words and back: reads documents, checks them, and writes them again. Knows formats, decides nothing."""
