package client

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/crypto/blake2b"
)

// Buckets is the number of buckets, one for each 0.01 % of the cards.
const Buckets = 10_000

const bucketBytes = 8

// Bucket returns a card's bucket, 0 to 9,999: BLAKE2b of its id, keyed by the salt, which has at most 64 bytes.
func Bucket(salt, cardID string) (int, error) {
	hash, err := blake2b.New(bucketBytes, []byte(salt))
	if err != nil {
		return 0, fmt.Errorf("salt %q: %w", salt, err)
	}
	hash.Write([]byte(cardID))
	return int(binary.BigEndian.Uint64(hash.Sum(nil)) % Buckets), nil
}

// ArmOf returns the name of a card's arm, "live" if it is left to the live model. Cards that a split excludes are live's
// whatever their bucket.
//
// The shares are the basis points of each arm beside live, as an event/1 has them; a canary is an arm "canary". The salt
// is that of the canary or the split; where a command had none, its command_id.
func ArmOf(cardID string, shares map[string]int, salt string) (string, error) {
	bucket, err := Bucket(salt, cardID)
	if err != nil {
		return "", err
	}
	end := 0
	for _, name := range slices.Sorted(maps.Keys(shares)) {
		end += shares[name]
		if bucket < end {
			return name, nil
		}
	}
	return "live", nil
}
