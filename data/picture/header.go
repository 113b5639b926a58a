package picture

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// Header is what a picture's file says of itself before its pixels.
type Header struct {
	Format        string // JPEG, PNG, GIF, WebP, BMP or TIFF
	Width, Height int    // pixels
}

// DecodeHeader reads no more of a picture than its size, and refuses what Decode refuses for what the header says: unknown formats,
// sizes over the limits. What is wrong with the pixels it does not see. Every error wraps ErrRow.
func DecodeHeader(file []byte) (Header, error) {
	_, header, err := readHeader(file, maxPixels)
	return header, err
}

func readHeader(file []byte, pixels int) (imageFormat, Header, error) {
	format, err := detectFormat(file)
	if err != nil {
		return format, Header{}, err
	}
	config, err := Shield(format.header, file)
	if err != nil {
		return format, Header{}, format.failed(err)
	}
	return format, Header{format.name, config.Width, config.Height}, format.checkSize(config.Width, config.Height, pixels)
}

// headerBytes is how much of a file is read for its header at first: most photos have it there, behind their preview.
const headerBytes = 32 << 10

// Inspect reads the header of an image of a row, and the whole picture where its file does not end as files of its format do:
// downloads that broke off are found, at the price of a header. Errors are those of Decode.
func (im *Images) Inspect(image Image) (Header, error) {
	header, err := im.inspect(image)
	if err != nil {
		return header, failure.Inputf("image %q: %w", image.Path, err)
	}
	return header, nil
}

func (im *Images) inspect(image Image) (Header, error) {
	if folder, ok := im.store.(imageFolder); ok && image.File == nil {
		f, info, err := folder.open(image.Path)
		if err != nil {
			return Header{}, err
		}
		defer f.Close()
		return inspect(f, info.Size())
	}
	file := image.File
	if file == nil {
		var err error
		if file, err = im.store.file(image.Path); err != nil {
			return Header{}, err
		}
	}
	return inspect(bytes.NewReader(file), int64(len(file)))
}

// Size is the width and height in pixels of an image of a row, read from its header unless it is prepared. Errors are
// those of Inspect.
func (im *Images) Size(image Image) (width, height int, err error) {
	if image.Prepared != nil {
		return image.Prepared.Width, image.Prepared.Height, nil
	}
	header, err := im.Inspect(image)
	return header.Width, header.Height, err
}

// reader is what a file's beginning and end are read from.
type reader interface {
	io.Reader
	io.ReaderAt
}

func inspect(f reader, size int64) (Header, error) {
	head, err := readUpTo(f, int(min(size, headerBytes)))
	if err != nil {
		return Header{}, err
	}
	header, failed := DecodeHeader(head)
	if failed == nil {
		if whole, err := endsWhole(header.Format, head, f, size); whole || err != nil {
			return header, err
		}
	}
	rest, err := readUpTo(f, int(size)-len(head))
	if err != nil {
		return header, err
	}
	file := append(head, rest...)
	if header, err = DecodeHeader(file); err == nil && failed == nil {
		_, err = Decode(file) // it seems cut off
	}
	return header, err
}

// endMarks are the last bytes of whole files; those of the other formats begin with their length.
var endMarks = map[string]string{"JPEG": "\xff\xd9", "PNG": "IEND\xaeB`\x82", "GIF": ";"}

// endsWhole says whether a file ends as a whole one of its format does. A file that does not may still be one: with bytes behind its end.
func endsWhole(format string, head []byte, f io.ReaderAt, size int64) (bool, error) {
	switch mark := endMarks[format]; {
	case format == "WebP":
		return int64(binary.LittleEndian.Uint32(head[4:]))+8 <= size, nil
	case format == "BMP":
		return int64(binary.LittleEndian.Uint32(head[2:])) <= size, nil
	case mark == "" || size < int64(len(mark)):
		return false, nil
	case size == int64(len(head)):
		return bytes.HasSuffix(head, []byte(mark)), nil
	default:
		tail := make([]byte, len(mark))
		_, err := f.ReadAt(tail, size-int64(len(mark)))
		if err == io.EOF { // it shrank since
			err = nil
		}
		return string(tail) == mark, err
	}
}

// Stamp changes when the file at name in a folder does: it is made of size and time of change. 0 stands for a file that Read refuses
// unread, and for all in an archive.
func (im *Images) Stamp(name string) int64 {
	folder, ok := im.store.(imageFolder)
	if !ok {
		return 0
	}
	info, err := folder.stat(name)
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()*31 + info.Size()
}
