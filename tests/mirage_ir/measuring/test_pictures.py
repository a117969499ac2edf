from mirage_ir.training.validation import PictureNames


def test_names_tell_folders_and_endings_apart(tmp_path):
    for name in ('a/1.png', 'b/1.png', 'b/2.png', 'b/2.jpg'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    names = PictureNames({'dataroot_lq': str(tmp_path)})
    paths = ['a/1.png', 'b/1.png', 'b/2.png', 'b/2.jpg']
    assert [names(str(tmp_path / p), i) for i, p in enumerate(paths)] == ['a/1', 'b/1', 'b/2_png', 'b/2_jpg']


def test_a_file_outside_the_folders_is_named_by_its_number():
    names = PictureNames({'dataroot_gt': '/data/set.lmdb'})
    assert [names('key.v1', 0), names('/elsewhere/key.png', 12)] == ['00000_key', '00012_key']


def test_linked_files_keep_their_names(tmp_path):
    download, root = tmp_path / 'download' / 'im0_NAME.png', tmp_path / 'datasets'
    download.parent.mkdir()
    root.mkdir()
    download.touch()
    (root / 'rain-1.png').symlink_to(download)
    (tmp_path / 'linked').symlink_to(root)
    for folder in (root, tmp_path / 'linked'):
        assert PictureNames({'dataroot_lq': str(folder)})(str(folder / 'rain-1.png'), 0) == 'rain-1'
