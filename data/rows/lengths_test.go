package rows

import "testing"

func TestFolderOf(t *testing.T) {
	for image, want := range map[string]string{
		"coco/train2017/000000033471.jpg": "coco/train2017", "vg/VG_100K/a/b/2.jpg": "vg/VG_100K", "gqa/1.jpg": "gqa",
		"00453/004539375.jpg": "00453",
		"photo.png":           ".", "./coco//train2017/1.jpg": "coco/train2017",
	} {
		if got := FolderOf(image); got != want {
			t.Errorf("FolderOf(%q) = %q, want %q", image, got, want)
		}
	}
}
