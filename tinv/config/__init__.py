"""What is typed and composed, and what is wrong with it; checked before anything of it is built."""
