"""Draw charts with matplotlib and Plotly."""
