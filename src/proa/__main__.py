"""`python -m proa`: the console command."""

from proa.cli.main import main

main()
