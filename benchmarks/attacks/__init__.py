"""The attacks that `attack.py` makes, by what they are made on.

Each module has `ATTACKS`: name -> function that makes one kind of attack and returns its `Outcome`.
"""
