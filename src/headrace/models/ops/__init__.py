"""What a decoder computes besides attention, behind one protocol: plain torch, or CPU kernels."""
