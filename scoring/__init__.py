"""What eval.py and figures.py use to score and draw saved generators; a module for each idea."""
