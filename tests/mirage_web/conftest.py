import pytest
from web_server import served


@pytest.fixture(scope='module')
def server():
    from mirage_web.limits import Limits

    with served(limits=Limits(megabytes=2, megapixels=0.5, seconds=2, waiting=3)) as running:
        yield running
