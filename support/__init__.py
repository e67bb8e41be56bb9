"""What commands stand on, whatever the method.

files      paths, files that are whole or not there at all, locks, lines that are printed
resume     how a run continues
progress   how far a loop has come
graph      a method's update() as a CUDA graph
"""
