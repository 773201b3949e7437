#include "cli/eval/haystack.h"

#include <array>
#include <cmath>
#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace quartet::cli::eval {
namespace {

constexpr std::array<const char*, 16> kWho = {
    "The baker",      "A young teacher", "My neighbour", "The old gardener",
    "A tired driver", "The librarian",   "Her brother",  "The postman",
    "A quiet nurse",  "The carpenter",   "Our cook",     "The shepherd",
    "A painter",      "The fisherman",   "His aunt",     "The watchmaker"};
constexpr std::array<const char*, 16> kDid = {
    "repaired",  "looked for", "painted", "carried",  "sold",      "admired",
    "forgot",    "cleaned",    "found",   "borrowed", "described", "photographed",
    "gave away", "kept",       "hid",     "wrapped"};
constexpr std::array<const char*, 16> kWhat = {
    "a wooden chair",    "the blue bicycle", "a basket of apples", "an old umbrella",
    "the kitchen clock", "a pair of boots",  "a letter",           "the copper kettle",
    "a woollen coat",    "the garden gate",  "a small lantern",    "a jar of honey",
    "the green door",    "a stack of books", "a paper boat",       "the silver spoon"};
constexpr std::array<const char*, 16> kWhere = {
    "near the river",       "behind the school", "in the market hall", "at the edge of the forest",
    "beside the fountain",  "under the bridge",  "in a narrow street", "on the hill",
    "close to the harbour", "in the attic",      "at the station",     "across the square",
    "by the mill",          "in the cellar",     "along the canal",    "outside the chapel"};
constexpr std::array<const char*, 12> kWhen = {
    "on a rainy morning",  "before sunset",   "late in the evening",    "after the long winter",
    "during the holidays", "while it snowed", "early in spring",        "when the bells rang",
    "on the way home",     "without a word",  "to everyone's surprise", "as the fog came in"};
constexpr std::array<const char*, 16> kPlaces = {
    "Lisbon", "Oslo",  "Nairobi", "Quito",  "Hanoi",  "Vienna", "Lima",   "Dublin",
    "Athens", "Tunis", "Havana",  "Prague", "Bamako", "Seoul",  "Ottawa", "Riga"};

using Random = std::mt19937_64;

// Not std::uniform_int_distribution, whose numbers differ between standard libraries.
template <size_t N>
const char* Pick(const std::array<const char*, N>& words, Random* random) {
  return words[(*random)() % N];
}

bool EndsSentence(absl::string_view text, size_t i) {
  const bool ascii_end = text[i] == '.' || text[i] == '!' || text[i] == '?';
  if (ascii_end) return i + 1 == text.size() || absl::ascii_isspace(text[i + 1]);
  if (text[i] == '\n') return i + 1 < text.size() && text[i + 1] == '\n';
  const absl::string_view so_far = text.substr(0, i + 1);
  return absl::EndsWith(so_far, "。") || absl::EndsWith(so_far, "！") ||
         absl::EndsWith(so_far, "？");
}

}  // namespace

std::vector<std::string> PlainSentences(int count, uint64_t seed) {
  Random random(seed);
  std::vector<std::string> sentences;
  sentences.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    // One after the other: the order in which arguments are evaluated is open.
    const char* const who = Pick(kWho, &random);
    const char* const did = Pick(kDid, &random);
    const char* const what = Pick(kWhat, &random);
    const char* const where = Pick(kWhere, &random);
    sentences.push_back(
        absl::StrCat(who, " ", did, " ", what, " ", where, " ", Pick(kWhen, &random), "."));
  }
  return sentences;
}

std::vector<std::string> SplitSentences(absl::string_view text) {
  std::vector<std::string> sentences;
  const auto add = [&sentences](absl::string_view part) {
    part = absl::StripAsciiWhitespace(part);
    if (!part.empty()) sentences.emplace_back(part);
  };
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!EndsSentence(text, i)) continue;
    add(text.substr(begin, i + 1 - begin));
    begin = i + 1;
  }
  add(text.substr(begin));
  return sentences;
}

Needle MakeNeedle(uint64_t seed) {
  Random random(seed ^ 0x6E6565646C65);
  const std::string place = Pick(kPlaces, &random);
  const std::string number = absl::StrCat(1'000'000 + random() % 9'000'000);
  return {absl::StrCat("The secret number of ", place, " is ", number, "."),
          absl::StrCat("What is the secret number of ", place, "?"), number,
          absl::StrCat("The secret number of ", place, " is")};
}

std::string BuildHaystack(const std::vector<std::string>& sentences, int count, double depth,
                          const Needle& needle) {
  const int before = static_cast<int>(std::lround(depth * count));
  std::string text;
  for (int i = 0; i <= count; ++i) {
    if (i == before) absl::StrAppend(&text, text.empty() ? "" : " ", needle.sentence);
    if (i == count) break;
    const std::string& sentence = sentences[static_cast<size_t>(i) % sentences.size()];
    absl::StrAppend(&text, text.empty() ? "" : " ", sentence);
  }
  return text;
}

}  // namespace quartet::cli::eval
