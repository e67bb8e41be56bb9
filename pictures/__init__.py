"""What figures.py draws; a module for each picture."""
