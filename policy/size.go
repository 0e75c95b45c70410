package policy

import (
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, written as 65536, 64KiB or 8MB. What is no size is
// read as a negative one, for who checks it to say so.
type Size int64

const (
	kib = 1 << 10
	mib = 1 << 20
)

var units = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", kib}, {"MiB", mib}, {"GiB", 1 << 30}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1},
}

// UnmarshalYAML reads a size.
func (s *Size) UnmarshalYAML(read func(any) error) error {
	var text string
	if err := read(&text); err != nil {
		return err
	}
	*s = ParseSize(text)
	return nil
}

// ParseSize reads a size; a negative one is what is none.
func ParseSize(text string) Size {
	for _, unit := range units {
		number, found := strings.CutSuffix(text, unit.suffix)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/unit.bytes {
			return -1
		}
		return Size(n * unit.bytes)
	}
	return -1
}

// String writes the size as a person would.
func (s Size) String() string {
	switch {
	case s > 0 && s%mib == 0:
		return strconv.FormatInt(int64(s/mib), 10) + "MiB"
	case s > 0 && s%kib == 0:
		return strconv.FormatInt(int64(s/kib), 10) + "KiB"
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// Values are those of a list: texts, numbers, true, false, null.
type Values []any

// numberInDisguise is a number that YAML does not read as it looks: 0123 is 83.
type numberInDisguise struct{ text, means string }

// item is one of them, as YAML reads it and as it is written.
type item struct {
	value any
	text  string
}

// UnmarshalYAML reads both.
func (i *item) UnmarshalYAML(read func(any) error) error {
	_ = read(&i.text) // a list or mapping has none
	return read(&i.value)
}

// UnmarshalYAML reads the list.
func (v *Values) UnmarshalYAML(read func(any) error) error {
	if err := read((*[]any)(v)); err != nil {
		return err
	}
	var items []item // without those that are null
	if err := read(&items); err != nil {
		return err
	}
	for i, value := range *v {
		if value == nil || len(items) == 0 {
			continue
		}
		if number, ok := value.(int); ok && strconv.Itoa(number) != items[0].text {
			(*v)[i] = numberInDisguise{items[0].text, strconv.Itoa(number)}
		}
		items = items[1:]
	}
	return nil
}
