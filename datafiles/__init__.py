"""Data sets on disk: fetched, found, decoded once and read. Nothing here imports anything else of this project.

fetch, mnist, svhn   download the official files and verify them
idx                  files in MNIST's format
folders, lsun        the encoded images of a folder, or of an LMDB
decode, cache        encoded images become uint8 pixels, once, in a file that is memory-mapped
"""
