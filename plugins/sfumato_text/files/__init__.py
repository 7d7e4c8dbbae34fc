"""Reading and writing text files so that what was observed comes back byte by byte."""
