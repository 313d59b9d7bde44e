"""What travels with a row's wheels and runs where they arrive: standard library only, Python >= 3.8."""
