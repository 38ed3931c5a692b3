"""The benchmark: what a request costs through Dragoman, as a multiple of what nginx spends on it.

Absolute numbers change with every machine and every noisy neighbour; a ratio to nginx's
`proxy_pass`, taken in the same minute against the same upstream, does not. See README.md.
"""
