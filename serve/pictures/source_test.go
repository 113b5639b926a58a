package pictures

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/serve"
)

func wantRefusal(t testing.TB, err error, reason serve.Reason, says string) {
	t.Helper()
	refusal := new(serve.Refusal)
	if !errors.As(err, &refusal) || refusal.Reason != reason || !strings.Contains(refusal.Text, says) {
		t.Errorf("error %v, want one that says %q", err, says)
	}
}

func TestFromText(t *testing.T) {
	for _, test := range []struct{ name, text, want, says string }{
		{"base64", "YWJjZA==", "abcd", ""},
		{"without padding", "YWJjZA", "abcd", ""},
		{"lines", "YWJj\r\nZA==\n", "abcd", ""},
		{"URL alphabet", "-_-_", "\xfb\xff\xbf", ""},
		{"standard alphabet", "+/+/", "\xfb\xff\xbf", ""},
		{"URI", "data:image/png;base64,YWJjZA==", "abcd", ""},
		{"URI in capitals", "DATA:IMAGE/PNG;BASE64,YWJjZA==", "abcd", ""},
		{"other type", "data:text/plain;charset=x;base64,YWJjZA==", "abcd", ""},
		{"no type", "data:;base64,YWJjZA==", "abcd", ""},
		{"not base64", "data:image/png,abcd", "", "data:image/png;base64"},
		{"no comma", "data:image/png;base64", "", "data:image/png;base64"},
		{"long type", "data:" + strings.Repeat("x", 200) + ";base64,YWJj", "", "data:image/png;base64"},
		{"address", "https://example.com/a.png", "", "not fetched"},
		{"file", "file:///etc/passwd", "", "not fetched"},
		{"empty", "", "", "empty"},
		{"empty URI", "data:image/png;base64,", "", "empty"},
		{"padding", "====", "", "not base64"},
		{"one letter", "Y", "", "not base64"},
		{"foreign", "YWJj!ZA==", "", "not base64"},
		{"zero byte", "YWJj\x00ZA==", "", "not base64"},
		{"large", strings.Repeat("A", (MaxFile+3)/3*4+4), "", "16 MiB"},
		{"huge", strings.Repeat("A", 3*MaxFile), "", "16 MiB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file, err := FromText(test.text)
			if test.says != "" {
				wantRefusal(t, err, serve.BadPicture, test.says)
				return
			}
			if string(file) != test.want || err != nil {
				t.Errorf("%q, %v", file, err)
			}
		})
	}
	if _, err := FromText(strings.Repeat("AAAA", MaxFile/3)); err != nil {
		t.Errorf("the largest file: %v", err)
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		file := rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "file")
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			got, err := FromURI("data:image/jpeg;base64," + encoding.EncodeToString(file))
			if string(got) != string(file) || err != nil {
				t.Fatalf("%q, %v", got, err)
			}
		}
	})
}

func FuzzFromText(f *testing.F) {
	for _, text := range []string{"YWJj", "data:image/png;base64,YWJj", "data:,", "https://a", "data:;base64,=\n="} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, err := FromText(text)
		refusal := new(serve.Refusal)
		if (err == nil) != (len(file) > 0) || err != nil && !errors.As(err, &refusal) {
			t.Errorf("%q, %v", file, err)
		}
	})
}
