"""The DreamBench protocol: one token for each of many subjects, and average scores."""
