"""What a layer is made of: norms, MLPs, how their outputs join the residual stream."""
