"""`python -m dragoman` is the same as the `dragoman` script."""

from dragoman.cli import main

if __name__ == "__main__":
    main()
