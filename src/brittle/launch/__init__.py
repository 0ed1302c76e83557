"""Components of the kind launch: where cells run: the function NAME in NAME.py, imported only when named."""
