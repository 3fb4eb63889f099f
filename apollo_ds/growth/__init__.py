"""Growth: says from which old parameters each new parameter is made, and what its Adam moments become."""
