// Matches texts with Go's regular expressions, as a validator of JSON Schemas does: anywhere in the text.
//
// It reads lines of a pattern and a text, each in Base64, separated by a space, and prints true or false for each.
package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"os"
	"regexp"
	"strings"
)

func main() {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		pattern, text, _ := strings.Cut(lines.Text(), " ")
		fmt.Println(regexp.MustCompile(decode(pattern)).MatchString(decode(text)))
	}
}

func decode(field string) string {
	decoded, err := base64.StdEncoding.DecodeString(field)
	if err != nil {
		panic(err)
	}
	return string(decoded)
}
