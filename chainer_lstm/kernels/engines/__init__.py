"""How a cell is computed: the protocol of engines, a file for each, and the choice among them."""
