"""Components of the kind encoders: what turns images into features: the function NAME in NAME.py, imported only when
named."""
