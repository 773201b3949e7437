// Times the in-process tokenizer on one thread: tokenizer_bench MODEL REPETITIONS COLD FILE...
// A file holds documents parted by NUL bytes. Prints one JSON line a file: seconds of each
// repetition with the caches of earlier ones ("warm") and, if COLD is 1, with a tokenizer made anew
// ("cold"), and the number of ids. tokenizer_bench.py drives it.
#include <time.h>

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "tokenizer_service/tokenizer.h"

namespace quartet::tokenizer {
namespace {

// CPU time of this thread: what others do on the machine counts little.
double CpuSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// Seconds to encode all documents one after the other; -1 if one is refused.
double EncodeAll(const Tokenizer& tokenizer, const std::vector<std::string>& documents,
                 size_t* num_ids) {
  *num_ids = 0;
  const double start = CpuSeconds();
  for (const std::string& document : documents) {
    const auto ids = tokenizer.Encode(document, true);
    if (!ids.ok()) return -1;
    *num_ids += ids->size();
  }
  return CpuSeconds() - start;
}

int Run(const std::string& model, int repetitions, bool with_cold,
        const std::vector<std::string>& files) {
  const auto vocabulary = LoadVocabulary(model);
  if (!vocabulary.ok()) {
    std::cerr << vocabulary.status() << "\n";
    return 1;
  }
  const auto tokenizer = Tokenizer::Create(*vocabulary, TokenizerOptions());
  for (const std::string& file : files) {
    std::ifstream stream(file, std::ios::binary);
    std::ostringstream text;
    text << stream.rdbuf();
    const std::vector<std::string> documents = absl::StrSplit(text.str(), '\0');
    std::vector<double> warm, cold;
    size_t num_ids = 0;
    EncodeAll(*tokenizer, documents, &num_ids);
    for (int i = 0; i < repetitions; ++i) {
      warm.push_back(EncodeAll(*tokenizer, documents, &num_ids));
      if (!with_cold) continue;
      const auto fresh = Tokenizer::Create(*vocabulary, TokenizerOptions());
      cold.push_back(EncodeAll(*fresh, documents, &num_ids));
    }
    std::cout << nlohmann::json{{"file", file}, {"warm", warm}, {"cold", cold}, {"ids", num_ids}}
              << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace quartet::tokenizer

int main(int argc, char** argv) {
  if (argc < 5) {
    std::cerr << "usage: tokenizer_bench MODEL REPETITIONS COLD FILE...\n";
    return 2;
  }
  return quartet::tokenizer::Run(argv[1], std::stoi(argv[2]), std::stoi(argv[3]) != 0,
                                 {argv + 4, argv + argc});
}
