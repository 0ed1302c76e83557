"""Components of the kind attacks: ways to climb inside a threat: the function NAME in NAME.py, imported only when
named."""
