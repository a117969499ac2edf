"""The page in a real Chromium: upload, slider, zoom, download, wrong file, two users at once, a phone."""

import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from web_server import served

sync_api = pytest.importorskip('playwright.sync_api', reason='needs playwright (extra browser-test)')
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
if CHROMIUM is None:
    pytest.skip('needs chromium (Debian: apt-get install chromium)', allow_module_level=True)

SHOTS = os.environ.get('MIRAGE_SCREENSHOTS')  # a folder for pictures of what is tested


@pytest.fixture(scope='module')
def server():
    from mirage_web.limits import Limits

    with served(limits=Limits(megabytes=3, megapixels=2)) as running:
        yield running


@pytest.fixture(scope='module')
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, server):
    context = browser.new_context(viewport={'width': 1280, 'height': 800})
    page = context.new_page()
    page.set_default_timeout(60_000)
    said = []
    page.on('console', lambda message: said.append(message.text) if message.type == 'error' else None)
    page.on('pageerror', lambda error: said.append(str(error)))
    page.goto(server.address)
    page.wait_for_selector('#model option', state='attached')
    yield page
    context.close()
    assert not [text for text in said if '404' not in text], said


def photograph(width=300, height=200, kind='PNG'):
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).normal(0, 25, (height, width, 3))
    pixels = np.stack([columns * 255 / width, rows * 255 / height, np.full((height, width), 90)], axis=2) + noise
    content = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(content, kind)
    return content.getvalue()


def upload(page, files):
    kind = 'application/octet-stream'
    page.set_input_files('#files', [{'name': name, 'mimeType': kind, 'buffer': data} for name, data in files.items()])


def ready(page):
    page.wait_for_selector('#viewer[data-ready]')


def shot(page, name):
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f'{SHOTS}/{name}.png')


def seen(page):
    """The viewer as a person sees it, (h, w, 3)."""
    content = page.screenshot(clip=page.locator('#viewer').bounding_box())
    return np.asarray(Image.open(io.BytesIO(content)).convert('RGB')).astype(float)


def test_upload_compare_zoom_and_download(page):
    sent = photograph()
    upload(page, {'noisy cat.png': sent})
    ready(page)
    words = page.inner_text('#words')
    assert re.search(r'noisy cat.png: 300x200 pixels restored in [\d.]+ s on cpu \(mini, fp32\)', words)
    assert page.evaluate("document.getElementById('after').naturalWidth") == 300  # full resolution
    shot(page, 'photograph')
    page.fill('#slider', '0')  # only the result is seen, then only the input
    after = seen(page)
    page.fill('#slider', '1000')
    before = seen(page)
    y, x = (size // 2 for size in after.shape[:2])
    centre = np.s_[y - 60 : y + 60, x - 90 : x + 30]
    rough = [np.abs(np.diff(each[centre], axis=1)).mean() for each in (before, after)]
    assert rough[1] < 0.5 * rough[0]
    page.click('#full')
    assert page.inner_text('#zoom') == '100 %'
    page.mouse.move(*[page.locator('#viewer').bounding_box()[key] + 100 for key in ('x', 'y')])
    page.mouse.wheel(0, -600)
    sync_api.expect(page.locator('#zoom')).to_have_text(re.compile('^2[0-9][0-9] %$'))
    page.click('#fit')
    with page.expect_download() as loading:
        page.click('#download')
    assert loading.value.suggested_filename == 'noisy cat_restored.png'
    result = np.asarray(Image.open(loading.value.path()))
    from mirage_restore import Restorer

    assert np.array_equal(result, Restorer(device='cpu')(np.asarray(Image.open(io.BytesIO(sent)))))


def test_the_divider_is_dragged(page):
    upload(page, {'a.png': photograph(80, 60)})
    ready(page)
    box = page.locator('#viewer').bounding_box()
    page.mouse.move(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2)
    page.mouse.down()
    page.mouse.move(box['x'] + box['width'] / 4, box['y'] + 50, steps=4)
    page.mouse.up()
    assert abs(int(page.input_value('#slider')) - 250) < 5


def test_many_files_with_wrong_ones_among_them(page, server):
    files = {
        'one.png': photograph(60, 40),
        '<i onclick=1>text.jpg': b'this is text',
        'two.jpg': photograph(60, 40, 'JPEG'),
        'large.bin': bytes(3_100_000),
    }
    upload(page, files)
    for state in ('done', 'failed'):
        sync_api.expect(page.locator(f'#jobs li[data-state={state}]')).to_have_count(2, timeout=60_000)
    told = page.inner_text('#jobs')
    assert '<i onclick=1>text.jpg: is not an image' in told and page.locator('#jobs i').count() == 0
    assert 'large.bin: is larger than 3 MB' in told and '/tmp' not in told
    shot(page, 'wrong_files')
    page.click('#jobs li[data-state=done]:has-text("one.png")')
    sync_api.expect(page.locator('#words')).to_have_text(re.compile('^one.png'))
    page.click('#jobs li:has-text("text.jpg") button')
    assert 'text.jpg' not in page.inner_text('#jobs')


def test_an_example_with_a_strength(page):
    page.fill('#strength', '80')
    page.click('#strip button >> nth=0')
    ready(page)
    assert 'strength 80%' in page.inner_text('#words')
    shot(page, 'example')


def test_an_example_whose_tone_is_kept(page):
    page.check('#keep-tone')
    page.click('#strip button >> nth=0')
    ready(page)
    assert 'tone kept' in page.inner_text('#words')
    shot(page, 'kept')


def test_two_users_at_once_see_their_own(browser, server):
    pages = []
    for _ in range(2):
        page = browser.new_context().new_page()
        page.goto(server.address)
        page.wait_for_selector('#model option', state='attached')
        pages.append(page)
    for number, page in enumerate(pages):
        upload(page, {f'user{number}.png': photograph(100 + number, 80)})
    for number, page in enumerate(pages):
        ready(page)
        assert page.inner_text('#words').startswith(f'user{number}.png: {100 + number}x80')
        assert page.locator('#jobs li').count() == 1
    jobs = len(server.desk._jobs)
    pages[0].close(run_before_unload=False)
    pages[1].goto('about:blank')  # who leaves takes the files along
    pages[1].wait_for_timeout(1000)
    assert len(server.desk._jobs) < jobs
    for page in pages:
        page.context.close()


def test_a_phone(browser, server):
    context = browser.new_context(
        viewport={'width': 390, 'height': 844}, device_scale_factor=3, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    page.goto(server.address)
    page.wait_for_selector('#model option', state='attached')
    shot(page, 'phone_start')
    upload(page, {'p.png': photograph()})
    ready(page)
    shot(page, 'phone')
    assert page.evaluate('document.documentElement.scrollWidth') <= 390
    assert page.locator('#download').bounding_box()['height'] >= 36
    context.close()


def test_a_video(page, server, tmp_path):
    av = pytest.importorskip('av')
    with av.open(str(tmp_path / 'f.mp4'), 'w') as container:
        stream = container.add_stream('libx264', rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, 'yuv420p'
        for _ in range(4):
            pixels = np.asarray(Image.open(io.BytesIO(photograph(160, 96))))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    page.goto(f'{server.address}/video')
    page.wait_for_selector('#model option', state='attached')
    upload(page, {'f.mp4': (tmp_path / 'f.mp4').read_bytes()})
    ready(page)
    assert '4 frames restored' in page.inner_text('#words') and page.is_visible('#film')
    for _ in range(100):
        if page.evaluate("document.getElementById('film').readyState") >= 1:
            break
        page.wait_for_timeout(100)
    assert page.evaluate("document.getElementById('film').videoWidth") == 160
    shot(page, 'video')
