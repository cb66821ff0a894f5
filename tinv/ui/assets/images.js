// The images of a new run: dropped, chosen or from a folder; their captions, order and crops.
let imageSet = null;
let images = []; // {name, width, height, caption, isExcluded, crop}
let imagesChanged = () => {};

async function ensureSet() {
  imageSet ??= (await post(url('api/images'), {})).id;
  return imageSet;
}

async function upload(files) {
  const zone = find('#dropzone');
  zone.setAttribute('aria-busy', 'true');
  try {
    await ensureSet();
    for (const file of files) {
      if (file.size > 64e6) {
        say(`${file.name}: larger than 64 MB. Reduce the image.`, true);
        continue;
      }
      const answer = await fetch(url(`api/images/${imageSet}`, file.name.replaceAll('/', '_')), { method: 'POST', headers: { 'content-type': 'application/octet-stream' }, body: file });
      try {
        images.push(await readAnswer(answer));
      } catch (error) {
        say(error.message, true);
      }
      showImages();
    }
  } catch (error) {
    say(error.message, true);
  }
  zone.removeAttribute('aria-busy');
  imagesChanged();
}

const chosenImages = () => images.filter((image) => !image.isExcluded).map(({ name, caption }) => ({ name, caption }));

function showImages() {
  const list = find('#images');
  list.replaceChildren(...images.map(imageCard));
  const count = chosenImages().length;
  const note = find('#images-note');
  note.hidden = !images.length;
  note.textContent = `${count} ${count === 1 ? 'image' : 'images'}. In a caption, {} is the token. Without captions, templates such as "a photo of a {}" are used.`;
}

function imageCard(image, i) {
  const picture = make('img', { src: image.crop?.url ?? url(`image/${imageSet}`, image.name), alt: image.name });
  picture.classList.toggle('pixels', Boolean(image.crop) && image.crop.target[0] <= 128);
  const caption = make('textarea', { rows: 2, placeholder: image.crop?.caption ?? 'caption', 'aria-label': `Caption of ${image.name}`, maxlength: 2000 });
  caption.value = image.caption ?? '';
  caption.addEventListener('input', () => {
    image.caption = caption.value;
    imagesChanged();
  });
  const tool = (label, text, action, isDisabled = false) => {
    const button = make('button', { type: 'button', class: 'tool', 'aria-label': `${label}: ${image.name}`, title: label, ...(isDisabled ? { disabled: '' } : {}) }, text);
    button.addEventListener('click', () => {
      action();
      showImages();
      imagesChanged();
      findAll('.image-card', find('#images'))[images.indexOf(image)]?.querySelector(`[title="${label}"]`)?.focus();
    });
    return button;
  };
  const move = (by) => () => {
    images.splice(i, 1);
    images.splice(i + by, 0, image);
  };
  const crop = image.crop ? `${image.width} × ${image.height} → ${image.crop.target.join(' × ')}${image.crop.views > 1 ? `, ${image.crop.views} crops` : ''}${image.crop.mask === null ? '' : `, mask ${Math.round(100 * image.crop.mask)} %`}` : `${image.width} × ${image.height}`;
  return make('li', { class: `image-card${image.isExcluded ? ' excluded' : ''}` },
    make('div', { class: 'image-frame' }, picture),
    make('div', { class: 'image-tools' },
      tool('Earlier', '←', move(-1), i === 0), tool('Later', '→', move(1), i === images.length - 1),
      tool(image.isExcluded ? 'Include' : 'Exclude', image.isExcluded ? 'include' : 'exclude', () => { image.isExcluded = !image.isExcluded; })),
    make('p', { class: 'muted image-name' }, image.name, make('br'), crop),
    caption);
}

// The crops of a preview are in the order of the images that were chosen for it.
function showCrops(chosen, crops) {
  chosen.forEach(({ name }, i) => {
    const image = images.find((other) => other.name === name);
    if (image) image.crop = crops[i];
  });
  if (!find('#images').contains(document.activeElement)) showImages();
  else updatePictures();
}

function updatePictures() {
  findAll('.image-card img', find('#images')).forEach((picture, i) => {
    if (images[i]?.crop) picture.src = images[i].crop.url;
  });
}

const zone = find('#dropzone');
for (const name of ['dragenter', 'dragover']) {
  zone.addEventListener(name, (event) => {
    event.preventDefault();
    zone.classList.add('over');
  });
}
for (const name of ['dragleave', 'drop']) zone.addEventListener(name, () => zone.classList.remove('over'));
zone.addEventListener('drop', (event) => {
  event.preventDefault();
  upload([...event.dataTransfer.files]);
});
find('#files-input').addEventListener('change', (event) => {
  upload([...event.target.files]);
});
find('#folder-form').addEventListener('submit', (event) => {
  event.preventDefault();
  during(find('button', event.target), async () => {
    await ensureSet();
    const known = new Map(images.map((image) => [image.name, image]));
    images = (await post(url('api/folder', imageSet), { folder: event.target.elements.folder.value })).map((image) => known.get(image.name) ?? image);
    showImages();
    imagesChanged();
  });
});
