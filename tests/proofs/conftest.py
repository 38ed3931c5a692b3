"""How long a proof goes on is an option: `make soak ARGS=--kills=5000`."""


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=200, help="how often the writer of a journal is killed")
