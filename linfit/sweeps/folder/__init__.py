"""Keep a sweep in its folder: manifest, attachments, results of other processes."""
