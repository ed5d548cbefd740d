"""tfgpu-tui: a terminal monitor that shows where a TensorFlow training's time goes."""

__version__ = "0.1.0"
