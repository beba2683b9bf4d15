"""Where in a network a lower precision loses what: layer by layer against float32, through NVIDIA's Polygraphy."""
