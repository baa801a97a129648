"""Files that clients upload: kept on disk for a while, read by reference from prompts."""
