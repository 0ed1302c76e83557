"""Components of the kind checks: ways a robust number can be wrong: the function NAME in NAME.py, imported only when
named."""
