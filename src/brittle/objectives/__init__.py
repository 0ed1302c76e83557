"""Components of the kind objectives: what an attack climbs: the function NAME in NAME.py, imported only when named."""
